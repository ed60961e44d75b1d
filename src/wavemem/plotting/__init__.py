"""The vocabulary in which the chapters draw: style, panels of a substrate, marks on axes."""
