"""A plan as people and programs read it: words, commands, documents, deployment files. It computes no memory."""
