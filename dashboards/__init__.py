"""Shows: one folder an audience, each with views, queries (SELECT only) and templates."""
