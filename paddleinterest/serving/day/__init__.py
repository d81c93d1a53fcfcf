"""Score a file of rows, such as the events of a day, in a stream: memory does not grow with it.

`rows` reads the file, `meaning` says what its columns are, `requests` makes a request of each row,
`score` scores them, `output` writes the scores.
"""
