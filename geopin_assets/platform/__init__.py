"""The platform as the settings have it: which stores, index and model it is made of, and what they hold together.

Between the rooms that each know one of them and Dagster, which runs them. Commands that ask need nothing else.
"""
