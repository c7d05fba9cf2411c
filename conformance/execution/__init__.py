"""Running a plan: the child that measures, the keeper that leaves no process behind, the parent that watches, the journal."""
