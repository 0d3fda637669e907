"""The row of a URI: its parts, its columns and how they are declared."""
