//! The image for containers. It cannot be built in a test; but what it is built from can be looked for.

use super::files::{path, read, toml};

struct Line {
    instruction: String,
    rest: String,
}

/// Lines without comments, continued ones joined.
fn dockerfile() -> Vec<Line> {
    let lines: Vec<_> = read("deploy/Dockerfile").lines().map(str::to_owned).collect();
    let lines =
        lines.iter().filter(|line| !line.starts_with('#')).map(|line| match line.strip_suffix('\\') {
            Some(line) => line.to_owned(),
            None => format!("{line}\n"),
        });
    let whole: String = lines.collect();
    let instructions = whole.lines().filter_map(|line| line.split_once(' '));
    instructions
        .map(|(instruction, rest)| Line { instruction: instruction.to_owned(), rest: rest.to_owned() })
        .collect()
}

fn all<'a>(lines: &'a [Line], instruction: &str) -> Vec<&'a str> {
    lines.iter().filter(|line| line.instruction == instruction).map(|line| line.rest.trim()).collect()
}

#[test]
fn everything_that_is_copied_is_there_and_reaches_the_build() {
    let lines = dockerfile();
    let ignored = read(".dockerignore");
    let let_through: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "nothing but what is named reaches the build");
    let mut copied = Vec::new();
    for copy in all(&lines, "COPY").into_iter().filter(|copy| !copy.starts_with("--from")) {
        let (sources, _) = copy.rsplit_once(' ').unwrap();
        for source in sources.split_whitespace() {
            assert!(path(source).exists(), "COPY {source}: there is no such file");
            assert!(let_through.contains(&source), "COPY {source}: .dockerignore leaves it out");
            copied.push(source.to_owned());
        }
    }
    copied.sort();
    // Cargo wants to see every package of the workspace, whichever it builds.
    let members = toml("Cargo.toml", &["workspace", "members"]);
    for member in members.lines() {
        let is_left_out = |line: &str| line.strip_prefix("**/").is_some_and(|end| member.ends_with(end));
        assert!(!ignored.lines().any(is_left_out), "{member}: .dockerignore leaves it out");
    }
    let mut needed: Vec<_> =
        members.lines().filter_map(|member| member.split('/').next()).map(str::to_owned).collect();
    needed.extend(["Cargo.lock", "Cargo.toml"].map(str::to_owned));
    needed.sort();
    needed.dedup();
    assert_eq!(copied, needed);
}

#[test]
fn the_image_is_the_program_alone_and_not_for_root() {
    let lines = dockerfile();
    assert_eq!(all(&lines, "FROM").last(), Some(&"scratch"));
    let [user] = all(&lines, "USER")[..] else { panic!("one user") };
    let (user, group) = user.split_once(':').expect("user and group");
    for id in [user, group] {
        assert_ne!(id.parse::<u32>().expect("a number: there is no list of users"), 0);
    }
    assert_eq!(all(&lines, "ENTRYPOINT"), [r#"["/usr/local/bin/gateway"]"#]);
    let oldest = toml("Cargo.toml", &["workspace", "package", "rust-version"]);
    assert_eq!(all(&lines, "ARG"), [format!("RUST=rust:{oldest}-slim-bookworm")]);
}
