"""Data of users: files, arrays and tables."""
