"""Drawing only: takes arrays and records, returns matplotlib figures and axes."""
