"""What the machine is: the GPU catalogue, the ``8xH200`` grammar and, later, detection."""
