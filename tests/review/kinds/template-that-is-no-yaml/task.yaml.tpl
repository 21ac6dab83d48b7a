resources:
  accelerators: "{gpu}:{count}"
{region}

run: |
  {command}
