//! The table in docs/lint.md is what the code declares.

#[test]
fn the_documented_rules_are_the_declared_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lint.md");
    let text = std::fs::read_to_string(path).unwrap();
    let table = kiln_lint::markdown_table();
    let section = text.split("## Rules\n\n").nth(1).unwrap_or_default();
    let documented = section.split("\n\n").next().unwrap_or_default();
    assert_eq!(documented, table.trim_end(), "put this table into docs/lint.md:\n{table}");
}
