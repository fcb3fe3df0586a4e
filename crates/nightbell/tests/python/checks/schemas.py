"""Schemas are kept by name and version."""

from conductor.client.http.models.schema_def import SchemaDef, SchemaType

from checks import refused


def check(clients):
    client = clients.get_schema_client()
    data = {"type": "object", "required": ["name"]}
    schema = SchemaDef(name="sdk_person", version=1, type=SchemaType.JSON, data=data)
    client.register_schema(schema)
    assert client.get_schema("sdk_person", 1).data == data
    assert "sdk_person" in {schema.name for schema in client.get_all_schemas()}
    client.delete_schema("sdk_person", 1)
    with refused(404):
        client.get_schema("sdk_person", 1)
