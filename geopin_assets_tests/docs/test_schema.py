from geopin_assets_tests.docs.schema import PAGE, page


def test_the_page_about_the_schema_is_what_the_schemas_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m geopin_assets_tests.docs.schema"
