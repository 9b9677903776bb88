"""HTTP's values: requests, responses, headers, URLs, cookies, forms and bodies.

Pure. Imports nothing but `errors.py`.
"""
