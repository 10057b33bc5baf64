"""The part of the report that belongs to one study: sentences, figures, tables and panel."""
