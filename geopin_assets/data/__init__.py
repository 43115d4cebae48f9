"""The frozen data of the grid and the script that makes it. `cells.py` and `geo.py` read it; see README.md."""
