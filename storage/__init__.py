"""F1: the only SQL. Named queries in sql/, migrations, the pool, the checkpoint saver, one repository per noun."""
