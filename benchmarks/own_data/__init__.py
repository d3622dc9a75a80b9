"""The same three tasks with several libraries, to compare what a user writes.

`data.make(folder)` writes the files; each `with_*.py` has a function for each task: `windows`, `recordings`, `predict`. What is counted are
the statements of these functions. A library is run where it is installed: `python benchmarks/own_data/with_aeon.py FOLDER`."""
