"""``python -m pipeline.verify``: is a dataset what its build left? ``--repair`` makes it so."""
