"""The demo: three small markets on loopback, five people who asked to be told, and the whole chain between them."""
