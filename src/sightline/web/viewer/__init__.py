"""A run to look at: a site whose every file is made when it is asked for, served or written to a folder."""
