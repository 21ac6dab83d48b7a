"""What is looked for, one module per subject; each yields findings and changes nothing."""
