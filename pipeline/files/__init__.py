"""Folders and files, here and in object stores: whole or not there, one writer at a time."""
