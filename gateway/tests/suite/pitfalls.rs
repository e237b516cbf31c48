//! The table of docs/pitfalls.md names tests that exist.

use std::path::Path;

#[test]
fn every_test_that_the_table_of_pitfalls_names_exists() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(project.join("docs/pitfalls.md")).unwrap();
    let mut names = 0;
    // What is between backticks, is a file, and has a name behind it.
    for (file, name) in table.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs ")) {
        let file = file.replace('…', "gateway/tests/suite").replace("E/", "fastway/tests/endpoint/") + ".rs";
        let code = std::fs::read_to_string(project.join(&file)).expect(&file);
        assert!(code.contains(&format!("fn {name}(")), "{file} has no test {name}");
        names += 1;
    }
    assert!(names >= 32, "only {names} names were found");
}
