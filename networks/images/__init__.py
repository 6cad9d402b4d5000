"""Any image file -> RGB uint8. Here and not in ``datasets``, so that the package ``re_iqa`` reads images as well."""
