"""What the checks share: the port, running a model in the child, comparing values, weighing placement witnesses."""
