//! Keeps the house in order: what `ARCHITECTURE.md` and the other documents claim about the tree, checked on the tree.
//!
//! Every rule is a function from text to a list of complaints, with unit tests on bad samples beside it; this file only
//! applies them to the checkout. All complaints of a rule are printed at once.

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/edges.rs"]
mod edges;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/tokens.rs"]
mod tokens;
#[path = "tidy/tree.rs"]
mod tree;

use tree::Tree;

fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaint(s):\n  {}", complaints.len(), complaints.join("\n  "));
}

#[test]
fn modules_import_only_what_their_line_in_architecture_allows() {
    let tree = Tree::of_checkout();
    let ladder = edges::Ladder::parse(&tree.text("ARCHITECTURE.md")).unwrap();
    let mut complaints = Vec::new();
    for path in tree.rust_files("src/") {
        complaints.extend(ladder.check_file(&path, &tree.text(&path)));
    }
    none(&complaints);
}

#[test]
fn the_ladder_in_architecture_names_exactly_the_modules_that_exist() {
    let tree = Tree::of_checkout();
    let ladder = edges::Ladder::parse(&tree.text("ARCHITECTURE.md")).unwrap();
    none(&ladder.check_modules(&edges::modules_of(&tree.rust_files("src/"))));
}

#[test]
fn foreign_crates_stay_inside_their_fence() {
    let tree = Tree::of_checkout();
    let fences = edges::Fences::parse(&tree.text("ARCHITECTURE.md")).unwrap();
    let mut complaints = Vec::new();
    for path in tree.rust_files("src/") {
        complaints.extend(fences.check_file(&path, &tree.text(&path)));
    }
    none(&complaints);
}

#[test]
fn every_rust_file_says_first_what_it_owns() {
    let tree = Tree::of_checkout();
    none(&tree.each(&tree.rust_files(""), sources::opens_with_a_module_comment));
}

#[test]
fn files_stay_short_enough_to_read() {
    let tree = Tree::of_checkout();
    let sizes: Vec<(String, usize)> = tree
        .rust_files("src/")
        .into_iter()
        .map(|path| {
            let lines = tokens::non_test_lines(&tree.text(&path));
            (path, lines)
        })
        .collect();
    none(&sources::sizes(&sizes));
}

#[test]
fn source_words_follow_the_glossary() {
    let tree = Tree::of_checkout();
    none(&tree.each(&tree.rust_files("src/"), sources::words));
}

#[test]
fn log_lines_stand_in_telemetry_and_begin_with_their_event() {
    let tree = Tree::of_checkout();
    none(&tree.each(&tree.rust_files("src/"), sources::log_lines));
}

#[test]
fn no_tracked_file_carries_a_machine_path_a_registry_host_or_a_secret() {
    let tree = Tree::of_checkout();
    let is_ours = |path: &&str| path.rsplit('/').next() != Some("Cargo.lock");
    let files: Vec<String> = tree.files().filter(is_ours).map(str::to_owned).collect();
    none(&tree.each(&files, sources::leaks));
}

#[test]
fn links_and_paths_in_documents_lead_somewhere() {
    let tree = Tree::of_checkout();
    let mut complaints = Vec::new();
    for path in tree.documents() {
        complaints.extend(docs::links(&path, &tree.text(&path), &tree));
        complaints.extend(docs::paths(&path, &tree.text(&path), &tree));
    }
    none(&complaints);
}

#[test]
fn documents_avoid_words_that_promise_without_proof() {
    let tree = Tree::of_checkout();
    none(&tree.each(&tree.documents(), docs::words));
}

#[test]
fn decisions_are_numbered_listed_and_complete() {
    let tree = Tree::of_checkout();
    none(&docs::decisions(&tree));
}

#[test]
fn the_commands_of_the_readme_exist() {
    let tree = Tree::of_checkout();
    none(&docs::readme_commands(&tree));
}
