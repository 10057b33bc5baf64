"""Web applications: the viewer of a run (`viewer`), reader studies (`reader_study`), and what they share (`server`)."""
