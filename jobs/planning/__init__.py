"""What a study will need of a machine, before it starts: memory, disk, arithmetic and hours.

Everything follows from the study, the sizes of its model (``jobs.inference.shapes``) and the node; no model is loaded.
"""
