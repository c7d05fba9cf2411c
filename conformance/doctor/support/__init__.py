"""What examinations share: the subject, families of devices, the survey of an environment, and how findings are told."""
