"""From text chapters to a site: jupytext, papermill and Jupyter Book, with a cache that knows what a chapter uses."""
