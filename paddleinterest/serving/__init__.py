"""A trained net as a bundle: export, request, engine, HTTP."""
