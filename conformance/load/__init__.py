"""Load generators: they ask a device for one inference after another and write down when each was due, issued and done.

They run in the child, beside the device, and judge nothing. A generator is given `ask`, a function that makes query number k
and returns when its outputs are there, and gives back `timing.samples.Samples`. What a generator itself costs is measured
with the same generator on a device that does nothing (`null_device`).
"""
