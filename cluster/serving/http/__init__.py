"""HTTP: routes, request and response schemas, problems, the OpenAPI document."""
