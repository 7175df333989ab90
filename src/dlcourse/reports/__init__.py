"""Tables and figures of any runs, as html, md and csv."""
