"""Online serving: the live release behind HTTP and gRPC, on Ray Serve. `cluster.serving:app` is the application.

semrec serve -w W
serve run cluster.serving:app workspace=W
serve deploy cluster/serving/config.example.yaml
"""

from typing import Any

from cluster.serving.settings import ServeArgs

__all__ = ["app"]


# Serve reads the annotation itself, so this module must not turn annotations into text.
def app(args: ServeArgs) -> Any:
    """Builds the application: what `serve run` and `serve deploy` import."""
    from cluster.serving.replica import bind_application  # Ray Serve is imported when it is needed

    return bind_application(args)
