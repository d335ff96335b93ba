"""The report page of a version, its pictures, and the rows that it shows."""
