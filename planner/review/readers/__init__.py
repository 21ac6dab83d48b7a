"""From an artefact's text to the servers in it; one module per kind of file. Nothing is executed."""
