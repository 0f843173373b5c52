"""The levers: one function, one file each. A new file here is a new lever everywhere."""
