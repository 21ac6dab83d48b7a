"""A plan to share: one sheet as Markdown for a pull request, or as one HTML file for a browser and a printer."""
