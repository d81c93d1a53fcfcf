"""Results, tables, curves, pictures, search."""
