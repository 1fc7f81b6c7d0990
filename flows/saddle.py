"""Seat of the block solver."""

class Elimination:
    @staticmethod
    def suits(fields, potentials, bcs, options):
        return None
