//! Rules on documents: what they point at exists, what they promise is listed, and they do not boast.

use std::collections::BTreeSet;

use crate::tree::Tree;

/// A path in backquotes that starts with one of these must exist.
const ROOTS: [&str; 8] = ["src/", "tests/", "docs/", "regions/", "benches/", "charts/", "fuzz/", ".ci/"];

/// Words that promise what no test shows, or that mark unfinished work.
const WORDS_AVOIDED: [&str; 14] = [
    "simply",
    "easily",
    "obviously",
    "of course",
    "blazing",
    "military-grade",
    "bank-grade",
    "unbreakable",
    "world-class",
    "seamless",
    "state-of-the-art",
    "100% secure",
    "lorem ipsum",
    "to be written",
];

/// Relative links and anchors.
pub(crate) fn links(path: &str, text: &str, tree: &Tree) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut complaints = Vec::new();
    for (number, line) in prose(text) {
        for target in link_targets(line) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let file = if file.is_empty() { path.to_owned() } else { join(folder, file) };
            if !tree.has(&file) {
                complaints.push(format!("{path}:{number}: link to {target}: no {file}"));
            } else if let Some(anchor) = anchor
                && is_document(&file)
                && !anchors(&tree.text(&file)).contains(anchor)
            {
                complaints.push(format!("{path}:{number}: link to {target}: {file} has no such heading"));
            }
        }
    }
    complaints
}

/// Paths of the tree named in backquotes. A `*` or `<…>` part ends the part that must exist.
pub(crate) fn paths(path: &str, text: &str, tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in prose(text) {
        for quoted in line.split('`').skip(1).step_by(2) {
            let named = quoted.split([' ', ':', '(']).next().unwrap_or_default();
            if !ROOTS.iter().any(|root| named.starts_with(root)) {
                continue;
            }
            let fixed = named.split(['*', '<', '{']).next().unwrap_or_default();
            let fixed = if fixed.len() == named.len() {
                fixed
            } else {
                fixed.rsplit_once('/').map_or("", |(dir, _)| dir)
            };
            if !tree.has(fixed) {
                complaints.push(format!("{path}:{number}: `{named}` does not exist"));
            }
        }
    }
    complaints
}

pub(crate) fn words(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in prose(text) {
        let lower = line.to_lowercase();
        for word in WORDS_AVOIDED {
            if contains_word(&lower, word) {
                complaints.push(format!("{path}:{number}: `{word}`"));
            }
        }
        if ["TODO", "FIXME", "XXX"].iter().any(|mark| contains_word(line, mark)) {
            complaints.push(format!("{path}:{number}: unfinished work belongs in an issue"));
        }
    }
    complaints
}

/// `docs/decisions/NNNN-name.md`: numbered without gaps, listed in the folder's README, each with its three parts.
pub(crate) fn decisions(tree: &Tree) -> Vec<String> {
    const FOLDER: &str = "docs/decisions/";
    let list = if tree.has("docs/decisions/README.md") {
        tree.text("docs/decisions/README.md")
    } else {
        String::new()
    };
    let mut complaints = Vec::new();
    let mut expected = 1;
    for path in tree.files().filter(|path| path.starts_with(FOLDER) && !path.ends_with("/README.md")) {
        let name = &path[FOLDER.len()..];
        if !name.starts_with(&format!("{expected:04}-")) {
            complaints.push(format!("{path}: number {expected:04} was expected"));
        }
        expected += 1;
        if !list.contains(&format!("({name})")) {
            complaints.push(format!("{path}: not listed in {FOLDER}README.md"));
        }
        let text = tree.text(path);
        for part in ["## Context", "## Decision", "## Consequences"] {
            if !text.lines().any(|line| line == part) {
                complaints.push(format!("{path}: no `{part}`"));
            }
        }
    }
    if expected == 1 {
        complaints.push(format!("{FOLDER}: no decision recorded"));
    }
    complaints
}

/// The two commands a newcomer types are in the README and can be run.
pub(crate) fn readme_commands(tree: &Tree) -> Vec<String> {
    let readme = tree.text("README.md");
    let mut complaints: Vec<String> = ["cargo run --release -- dev", "tests/run"]
        .into_iter()
        .filter(|command| !readme.lines().any(|line| line.trim() == *command))
        .map(|command| format!("README.md has no line `{command}`"))
        .collect();
    for script in ["tests/run", ".ci/run"] {
        if !tree.has(script) || !tree.is_executable(script) {
            complaints.push(format!("{script} is missing or not executable"));
        }
    }
    complaints
}

fn is_document(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, ext)| ext == "md")
}

/// Lines outside fenced blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` on one line.
fn link_targets(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.trim())
        .collect()
}

fn join(folder: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// Headings as their anchors: lowercase, spaces to hyphens, punctuation gone.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

fn contains_word(line: &str, word: &str) -> bool {
    let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(start, _)| {
        edge(line[..start].chars().next_back()) && edge(line[start + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_found_and_a_good_one_is_not() {
        let tree = Tree::sample([("docs/a.md", "# One Thing\n## B, c\n"), ("README.md", "")]);
        let good = "[a](a.md) [r](../README.md) [h](a.md#one-thing) [s](#b-c) [web](https://example.org)";
        assert_eq!(links("docs/a.md", good, &tree), Vec::<String>::new());
        for bad in ["[a](b.md)", "[a](README.md)", "[a](a.md#two)", "[a](#two)"] {
            assert_eq!(links("docs/a.md", bad, &tree).len(), 1, "{bad}");
        }
        assert!(links("docs/a.md", "```\n[a](b.md)\n```", &tree).is_empty());
    }

    #[test]
    fn a_quoted_path_that_does_not_exist_is_found() {
        let tree = Tree::sample([("src/vault/put.rs", ""), ("docs/decisions/0001-a.md", "")]);
        let good = "`src/vault/` `src/vault/put.rs` `docs/decisions/*.md` `src/<module>/mod.rs` `vault` `src/vault/put.rs:3`";
        assert_eq!(paths("a.md", good, &tree), Vec::<String>::new());
        for bad in ["`src/volt/`", "`src/vault/pot.rs`", "see `docs/other.md`.", "`src/volt/*.rs`"] {
            assert_eq!(paths("a.md", bad, &tree).len(), 1, "{bad}");
        }
    }

    #[test]
    fn boasts_are_found_as_words_only() {
        assert_eq!(words("a.md", "It is Blazing fast.").len(), 1);
        assert_eq!(words("a.md", "- TODO").len(), 1);
        assert!(words("a.md", "ablazing simplyfied TODOS").is_empty());
    }

    #[test]
    fn decisions_with_a_gap_unlisted_or_unfinished_are_found() {
        const WHOLE: &str = "# x\n## Context\n## Decision\n## Consequences\n";
        let list = ("docs/decisions/README.md", "[a](0001-a.md) [b](0002-b.md) [c](0003-c.md)");
        let good = [("docs/decisions/0001-a.md", WHOLE), ("docs/decisions/0002-b.md", WHOLE), list];
        assert_eq!(decisions(&Tree::sample(good)), Vec::<String>::new());
        let gap = [("docs/decisions/0001-a.md", WHOLE), ("docs/decisions/0003-c.md", WHOLE), list];
        assert_eq!(decisions(&Tree::sample(gap)).len(), 1);
        let unlisted = [("docs/decisions/0001-z.md", WHOLE), list];
        assert_eq!(decisions(&Tree::sample(unlisted)).len(), 1);
        let unfinished = [("docs/decisions/0001-a.md", "# x\n## Context\n"), list];
        assert_eq!(decisions(&Tree::sample(unfinished)).len(), 2);
        assert_eq!(decisions(&Tree::sample([list])).len(), 1);
    }

    #[test]
    fn a_readme_without_its_commands_is_found() {
        let scripts = [("tests/run", ""), (".ci/run", "")];
        let whole = "```\ncargo run --release -- dev\n```\n```\ntests/run\n```\n";
        assert!(readme_commands(&Tree::sample([("README.md", whole), scripts[0], scripts[1]])).is_empty());
        assert_eq!(
            readme_commands(&Tree::sample([("README.md", "tests/run"), scripts[0], scripts[1]])).len(),
            1
        );
        assert_eq!(readme_commands(&Tree::sample([("README.md", whole), scripts[0]])).len(), 1);
    }
}
