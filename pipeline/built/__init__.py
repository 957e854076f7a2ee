"""What a built dataset is: its folder, plan, records and tables, and how they are read."""
