//! The log as a whole: the illustrations of the spec byte for byte, then what each mode changes.

use std::sync::atomic::AtomicI64;

use super::*;

/// A log whose clock stands where the test puts it.
struct Bench {
    ui: Ui,
    captured: Captured,
    now: Arc<AtomicI64>,
}

impl Bench {
    fn new() -> Self {
        Self::with(UiOptions { width: 78, ..UiOptions::default() })
    }

    fn with(options: UiOptions) -> Self {
        let now = Arc::new(AtomicI64::new(0));
        let (ui, captured) = Ui::for_test_with(options, Clock::Literal(now.clone()));
        Self { ui, captured, now }
    }

    fn at(&self, milliseconds: i64) {
        self.now.store(milliseconds, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        self.captured.text()
    }
}

fn stage_details(created: &str, tag: &str, size: (&'static str, &str), id: &str) -> Vec<(&'static str, String)> {
    vec![
        ("repository", "werf-stages-storage/tools".into()),
        ("image_id", id.into()),
        ("created", created.into()),
        ("tag", tag.into()),
        (size.0, size.1.into()),
    ]
}

/// spec/build.md 8.3, acceptance 64: cached and rebuilt stages.
#[test]
fn illustration_of_a_build() {
    let bench = Bench::new();
    let root = bench.ui.root();
    root.line("Version: v1.1.36");
    root.line("Using werf config render file: /tmp/werf-config-render-418072155");
    root.gap();
    bench.at(160);
    let image = root.process(&root.image_title(Some("backend")), Style::Image);
    image.highlight("Use cache image for backend/from");
    let tag = "f5f3248012aa96cc58511d5a390c2567c58e439bc5b136e5e900cac7-1596442841500";
    image.details(&stage_details("2020-08-03 11:20:41.5 +0300 MSK", tag, ("size", "109.8 MiB"), "6c0d8f4a1b2e"));
    bench.at(1_000);
    let stage = image.process("Building stage backend/install", Style::Normal);
    let mut output = stage.stream("backend/install", Style::Image);
    output.write(b"Collecting ");
    output.write(b"packages\n");
    output.finish();
    bench.at(25_000);
    let store = stage.process("Store into stages storage", Style::Normal);
    bench.at(25_040);
    store.end();
    stage.info();
    let tag = "15a2f07aaeaa[…]-1596442867200";
    stage.details(&stage_details("2020-08-03 11:21:07.2 +0300 MSK", tag, ("diff", "23.4 MiB"), "91be0c77d3aa"));
    bench.at(25_910);
    stage.end();
    bench.at(25_930);
    image.end();
    bench.at(25_930);
    bench.ui.end();
    assert_eq!(
        bench.text(),
        "\
Version: v1.1.36
Using werf config render file: /tmp/werf-config-render-418072155

┌ ⛵ image backend
│ Use cache image for backend/from
│     repository: werf-stages-storage/tools
│       image_id: 6c0d8f4a1b2e
│        created: 2020-08-03 11:20:41.5 +0300 MSK
│            tag:                                                            ↵
│ f5f3248012aa96cc58511d5a390c2567c58e439bc5b136e5e900cac7-1596442841500
│           size: 109.8 MiB
│
│ ┌ Building stage backend/install
│ │ backend/install  Collecting packages
│ │ ┌ Store into stages storage
│ │ └ Store into stages storage (0.04 seconds)
│ ├ Info
│ │     repository: werf-stages-storage/tools
│ │       image_id: 91be0c77d3aa
│ │        created: 2020-08-03 11:21:07.2 +0300 MSK
│ │            tag: 15a2f07aaeaa[…]-1596442867200
│ │           diff: 23.4 MiB
│ └ Building stage backend/install (24.91 seconds)
└ ⛵ image backend (25.77 seconds)

Running time 25.93 seconds
"
    );
}

/// spec/build.md 8.3: a failing stage.
#[test]
fn illustration_of_a_failure() {
    let bench = Bench::new();
    bench.at(150);
    let root = bench.ui.root();
    let image = root.process("⛵ image backend", Style::Image);
    bench.at(1_350);
    let stage = image.process("Building stage backend/setup", Style::Normal);
    stage.stream("backend/setup", Style::Image).write(b"./manage.sh: line 3: oops: not found");
    stage.info();
    bench.at(2_450);
    stage.fail();
    bench.at(2_460);
    drop(image);
    bench.at(2_460);
    bench.ui.end();
    assert_eq!(
        bench.text(),
        "\
┌ ⛵ image backend
│ ┌ Building stage backend/setup
│ │ backend/setup  ./manage.sh: line 3: oops: not found
│ ├ Info
│ └ Building stage backend/setup (1.10 seconds) FAILED
└ ⛵ image backend (2.31 seconds) FAILED

Running time 2.46 seconds
"
    );
}

/// spec/build.md 8.3 and spec/publish-and-cleanup.md 4.5: publishing.
#[test]
fn illustration_of_publishing() {
    assert_eq!(
        publishing_at(78),
        "\
┌ ⛵ image backend
│ ┌ Publishing image backend by stages-signature tag 5f3ce5f1f48434b86869f ...
│ ├ Info
│ │   images-repo: registry.example.com/group/tools/backend
│ │         image: registry.example.com/group/tools/backend:5f3ce5f1f48434b8 ↵
│ │   6869f8ee9218c5dd4ba74cf1cf8fb725d5c156ae
│ └ Publishing image backend by stages-signature tag 5f3ce ... (14.90 seconds)
└ ⛵ image backend (15.00 seconds)
"
    );
}

/// The same in the width that ci-env sets.
#[test]
fn publishing_in_95_columns() {
    assert_eq!(
        publishing_at(95),
        "\
┌ ⛵ image backend
│ ┌ Publishing image backend by stages-signature tag 5f3ce5f1f48434b86869f8ee9218c5dd4ba74c ...
│ ├ Info
│ │   images-repo: registry.example.com/group/tools/backend
│ │         image: registry.example.com/group/tools/backend:5f3ce5f1f48434b86869f8ee9218c5dd4 ↵
│ │   ba74cf1cf8fb725d5c156ae
│ └ Publishing image backend by stages-signature tag 5f3ce5f1f48434b86869f8 ... (14.90 seconds)
└ ⛵ image backend (15.00 seconds)
"
    );
}

fn publishing_at(width: usize) -> String {
    let bench = Bench::with(UiOptions { width, ..UiOptions::default() });
    let repo = "registry.example.com/group/tools/backend";
    let tag = "5f3ce5f1f48434b86869f8ee9218c5dd4ba74cf1cf8fb725d5c156ae";
    let root = bench.ui.root();
    let image = root.process("⛵ image backend", Style::Image);
    bench.at(0);
    let publishing =
        image.process(&format!("Publishing image backend by stages-signature tag {tag}"), Style::Highlight);
    publishing.info();
    publishing.indented_details(&[("images-repo", repo.into()), ("image", format!("{repo}:{tag}"))]);
    bench.at(14_900);
    publishing.end();
    bench.at(15_000);
    image.end();
    bench.text()
}

/// Acceptance 65.
#[test]
fn a_long_word_wraps_with_the_mark_in_the_last_column() {
    let bench = Bench::new();
    bench.ui.root().line("x".repeat(100));
    assert_eq!(bench.text(), format!("{} ↵\n{}\n", "x".repeat(76), "x".repeat(24)));
    let image = bench.ui.root().process("⛵ image a", Style::Image);
    image.stream("a/setup", Style::Image).write("y".repeat(100).as_bytes());
    let (width, tag) = (78, "│ a/setup  ");
    let text = bench.text();
    let first = text.lines().find(|line| line.starts_with(tag)).unwrap();
    assert_eq!(first.chars().count(), width);
    assert!(first.ends_with("y ↵"), "{first}");
}

/// Acceptance 66.
#[test]
fn a_quiet_log_says_only_what_went_wrong() {
    let bench = Bench::with(UiOptions { level: Level::Quiet, ..UiOptions::default() });
    let root = bench.ui.root();
    let image = root.process("image a", Style::Image);
    image.stream("a/setup", Style::Image).write(b"output\n");
    image.inline("Connecting").end();
    image.details(&[("tag", "x".into())]);
    image.info();
    image.gap();
    image.warn("disk is nearly full");
    image.fail();
    bench.ui.warn_at_end("later");
    bench.ui.warn_at_end("later");
    bench.ui.end();
    assert_eq!(bench.text(), "WARNING: disk is nearly full\nWARNING: later\n");
}

#[test]
fn verbose_lines_and_boxes_need_a_verbose_log() {
    for (level, text) in [
        (Level::Normal, "shown\n"),
        (Level::Verbose, "┌ Determining stages\n│ inner\n└ Determining stages (0.00 seconds)\n\nwhy\nshown\n"),
    ] {
        let bench = Bench::with(UiOptions { level, ..UiOptions::default() });
        let root = bench.ui.root();
        let process = root.at(Level::Verbose).process("Determining stages", Style::Normal);
        process.line("inner");
        process.end();
        root.verbose("why");
        root.debug("every detail");
        root.line("shown");
        assert_eq!(bench.text(), text);
    }
}

/// Acceptance 66.
#[test]
fn a_debug_log_starts_each_line_with_the_time() {
    let bench = Bench::with(UiOptions { level: Level::Debug, width: 40, ..UiOptions::default() });
    bench.at(61_230);
    let image = bench.ui.root().block("plan");
    image.debug("0123456789012345678901234567890");
    image.end();
    assert_eq!(
        bench.text(),
        "\
[   61.23s] ┌ plan
[   61.23s] │ 012345678901234567890123 ↵
[   61.23s] │ 4567890
[   61.23s] └ plan
"
    );
}

/// Acceptance 67.
#[test]
fn sections_enclose_each_top_level_process() {
    let bench = Bench::with(UiOptions { gitlab_sections: true, ..UiOptions::default() });
    let root = bench.ui.root();
    bench.at(1_000);
    let image = root.process("a", Style::Image);
    bench.at(2_000);
    let inner = image.process("inner", Style::Normal);
    bench.at(3_000);
    inner.end();
    bench.at(4_000);
    image.end();
    root.block("b").end();
    let text = bench.text();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("section_start:1:slipway_0_1\r\x1b[0K┌ a"));
    assert_eq!(lines.clone().nth(1), Some("│ └ inner (1.00 seconds)"));
    assert_eq!(lines.clone().nth(3), Some("section_end:4:slipway_0_1\r\x1b[0K"));
    assert_eq!(text.matches("section_start:").count(), 2);
    assert_eq!(text.matches("section_end:").count(), 2);
}

#[test]
fn a_collapsed_section_may_stand_inside_another() {
    let bench = Bench::with(UiOptions { gitlab_sections: true, ..UiOptions::default() });
    bench.at(5_000);
    let image = bench.ui.root().process("a", Style::Image);
    image.collapsed("Pulling base image", Style::Normal).end();
    image.end();
    let text = bench.text().replace("\r\x1b[0K", "<CR>");
    insta::assert_snapshot!(text, @r"
    section_start:5:slipway_0_1<CR>┌ a
    section_start:5:slipway_0_3[collapsed=true]<CR>│ ┌ Pulling base image
    │ └ Pulling base image (0.00 seconds)
    section_end:5:slipway_0_3<CR>
    └ a (0.01 seconds)
    section_end:5:slipway_0_1<CR>
    ");
}

/// Hostile input 40: a container cannot open a section, end ours, or move the cursor.
#[test]
fn what_a_container_prints_cannot_forge_sections() {
    let bench = Bench::with(UiOptions { gitlab_sections: true, colour: true, ..UiOptions::default() });
    let image = bench.ui.root().process("a", Style::Normal);
    let before = bench.text().matches('\x1b').count();
    image.stream("a/b", Style::Normal).write(b"section_end:1:slipway_0_1\r\x1b[0K\nx\x1b[2A\x1b]8;;u\x07y\n");
    image.line("branch \x1b[31m\r\nname");
    assert_eq!(bench.text().matches('\x1b').count(), before);
    assert_eq!(bench.text().matches('\r').count(), 1);
    assert!(
        bench.text().ends_with("│ a/b  section_end:1:slipway_0_1\n│ a/b  xy\n│ branch\n│ name\n"),
        "{}",
        bench.text()
    );
}

#[test]
fn a_log_that_is_not_pretty_has_neither_borders_nor_emoji_nor_wrapping() {
    let bench = Bench::with(UiOptions { pretty: false, width: 20, ..UiOptions::default() });
    let root = bench.ui.root();
    let image = root.process(&root.artifact_title(None), Style::Artifact);
    image.stream("~/setup", Style::Artifact).write(b"a line that is longer than the log is wide\n");
    image.info();
    image.details(&[("tag", "0123456789".into())]);
    bench.at(1_230);
    image.end();
    assert_eq!(
        bench.text(),
        "\
artifact ~
a line that is longer than the log is wide
           tag: 0123456789
artifact ~ (1.23 seconds)
"
    );
}

#[test]
fn colours_follow_the_style() {
    let bench = Bench::with(UiOptions { colour: true, width: 30, ..UiOptions::default() });
    let image = bench.ui.root().process("i", Style::Image);
    image.highlight("one two three four five six seven");
    image.stream("i/s", Style::Image).write(b"\x1b[32mok\x1b[0m\n");
    bench.at(0);
    image.fail();
    insta::assert_snapshot!(bench.text().replace('\x1b', "^"), @r"
    ┌ ^[33;1mi^[0m
    │ ^[1mone two three four five ^[0m   ↵
    │ ^[1msix seven^[0m
    │ ^[33;1mi/s^[0m  ^[32mok^[0m
    └ ^[31;1mi (0.00 seconds) FAILED^[0m
    ");
}

#[test]
fn inline_processes_stand_on_one_line() {
    let bench = Bench::new();
    let root = bench.ui.root();
    let inline = root.inline("Connecting");
    bench.at(122);
    inline.end();
    bench.at(0);
    let inline = root.inline("Asking");
    bench.at(122);
    drop(inline);
    assert_eq!(bench.text(), "Connecting ... (0.12 seconds)\nAsking ... (0.12 seconds) FAILED\n");
}

#[test]
fn gaps_are_single_and_never_first_or_before_an_end() {
    let bench = Bench::new();
    let root = bench.ui.root();
    root.gap();
    root.line("a");
    root.gap();
    root.gap();
    let block = root.block("b");
    block.gap();
    block.end();
    root.line("c");
    root.gap();
    assert_eq!(bench.text(), "a\n\n┌ b\n└ b\n\nc\n");
}

/// Acceptance 58: output of tasks side by side is not interleaved.
#[test]
fn tasks_are_shown_in_order_and_failed_ones_last() {
    let bench = Bench::new();
    let root = bench.ui.root();
    root.line("plan");
    let tasks = root.parallel(4);
    for round in 1..=2 {
        for (index, task) in tasks.iter().enumerate() {
            task.line(format!("task {index} line {round}"));
        }
    }
    assert_eq!(bench.text(), "plan\ntask 0 line 1\ntask 0 line 2\n");
    tasks[1].finish_task(true);
    tasks[2].finish_task(false);
    tasks[0].finish_task(false);
    assert!(bench.text().ends_with("task 2 line 1\ntask 2 line 2\ntask 3 line 1\ntask 3 line 2\n"), "{}", bench.text());
    tasks[3].line("live now");
    drop(tasks);
    assert!(bench.text().ends_with("live now\ntask 1 line 1\ntask 1 line 2\n"), "{}", bench.text());
    root.line("after");
    assert!(bench.text().ends_with("after\n"));
}

#[test]
fn boxes_of_tasks_are_separated_like_any_others() {
    let bench = Bench::new();
    let root = bench.ui.root();
    let tasks = root.parallel(2);
    for (task, title) in tasks.iter().zip(["a", "b"]).rev() {
        task.block(title).end();
        task.finish_task(false);
    }
    root.line("end");
    assert_eq!(bench.text(), "┌ a\n└ a\n\n┌ b\n└ b\n\nend\n");
}

#[test]
fn groups_nest_and_may_be_empty() {
    let bench = Bench::new();
    let root = bench.ui.root();
    assert!(root.parallel(0).is_empty());
    let outer = root.parallel(2);
    let inner = outer[1].parallel(2);
    inner[1].line("1.1");
    inner[0].line("1.0");
    outer[0].line("0");
    drop(inner);
    drop(outer);
    assert_eq!(bench.text(), "0\n1.0\n1.1\n");
}

/// Hostile input 43: what waits for its turn goes to a file, and comes back whole.
#[test]
fn a_flood_in_the_background_is_kept_out_of_memory_and_in_order() {
    let bench = Bench::with(UiOptions { pretty: false, ..UiOptions::default() });
    let tasks = bench.ui.root().parallel(2);
    let mut expected = String::new();
    for number in 0..60_000 {
        let line = format!("line {number} of a long story that goes on");
        tasks[1].line(&line);
        expected.push_str(&line);
        expected.push('\n');
    }
    tasks[0].finish_task(false);
    assert!(bench.text() == expected, "spooled text differs");
}

/// Hostile input 43.
#[test]
fn a_line_without_end_is_broken() {
    let bench = Bench::with(UiOptions { pretty: false, ..UiOptions::default() });
    let mut output = bench.ui.root().stream("", Style::Normal);
    let part = "д".repeat(5_000);
    for _ in 0..20 {
        output.write(part.as_bytes());
    }
    assert!(bench.text().lines().count() >= 2);
    output.finish();
    assert_eq!(bench.text().replace('\n', ""), part.repeat(20));
}

/// Hostile input 45.
#[test]
fn secrets_are_masked_in_titles_lines_and_output() {
    let bench = Bench::new();
    bench.ui.mask().add("hunter2-hunter2");
    let process = bench.ui.root().process("deploy with hunter2-hunter2", Style::Normal);
    process.line("password hunter2-hunter2");
    process.warn("hunter2-hunter2");
    let mut output = process.stream("t", Style::Normal);
    for byte in b"a hunter2-hunter2 b hun\x1b[0mter2-hunter2\n" {
        output.write(&[*byte]);
    }
    output.finish();
    process.inline("login hunter2-hunter2").end();
    bench.ui.beat(SILENCE);
    process.end();
    let text = bench.text();
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.matches("[MASKED]").count(), 8, "{text}");
}

#[test]
fn the_heartbeat_names_what_runs() {
    let bench = Bench::new();
    bench.ui.beat(SILENCE);
    assert_eq!(bench.text(), "");
    let root = bench.ui.root();
    let image = root.process("image a", Style::Normal);
    let stage = image.process("Building stage a/install", Style::Normal);
    bench.at(90_000);
    bench.ui.beat(SILENCE - Duration::from_secs(1));
    bench.ui.beat(SILENCE);
    assert!(bench.text().ends_with("│ │ still running: Building stage a/install (1m29s)\n"), "{}", bench.text());
    stage.end();
    bench.at(120_000);
    bench.ui.beat(SILENCE);
    assert!(bench.text().ends_with("│ still running: image a (1m59s)\n"), "{}", bench.text());
}

#[test]
fn the_heartbeat_speaks_of_what_is_seen() {
    let bench = Bench::new();
    let tasks = bench.ui.root().parallel(2);
    let live = tasks[0].process("live", Style::Normal);
    let hidden = tasks[1].process("hidden", Style::Normal);
    bench.ui.beat(SILENCE);
    assert!(bench.text().contains("still running: live"));
    assert!(!bench.text().contains("hidden"));
    hidden.end();
    live.end();
}

/// Hostile inputs 40 and 45, in error texts.
#[test]
fn the_final_error_is_whole_masked_and_harmless() {
    let bench = Bench::with(UiOptions { level: Level::Quiet, width: 20, ..UiOptions::default() });
    bench.ui.mask().add("hunter2-hunter2");
    bench.ui.error(
        "Error: the registry said: \x1b]0;t\x07no hunter2-hunter2\nhint: a hint that is longer than the log is wide",
    );
    assert_eq!(
        bench.text(),
        "Error: the registry said: no [MASKED]\nhint: a hint that is longer than the log is wide\n"
    );
}

#[test]
fn on_a_terminal_bars_take_the_place_of_lines_and_heartbeats() {
    let bench = Bench::with(UiOptions { terminal: true, ..UiOptions::default() });
    let root = bench.ui.root();
    let process = root.process("a", Style::Normal);
    let progress = process.progress("Pulling");
    progress.set(1, 2);
    process.line("said meanwhile");
    drop(progress);
    let aside = bench.ui.step_aside();
    drop(aside);
    bench.ui.beat(SILENCE);
    bench.at(0);
    process.end();
    assert_eq!(bench.text(), "┌ a\n│ said meanwhile\n└ a (0.00 seconds)\n");
}

#[test]
fn the_heartbeat_is_silent_while_somebody_uses_the_terminal() {
    let bench = Bench::new();
    let process = bench.ui.root().process("a", Style::Normal);
    let before = bench.text();
    let aside = bench.ui.step_aside();
    bench.ui.beat(SILENCE);
    assert_eq!(bench.text(), before);
    drop(aside);
    bench.ui.beat(SILENCE);
    assert!(bench.text().ends_with("│ still running: a (0s)\n"), "{}", bench.text());
    process.end();
}

#[test]
fn what_abandoned_tasks_have_said_is_shown_before_the_end() {
    let bench = Bench::new();
    let tasks = bench.ui.root().parallel(3);
    let inner = tasks[1].parallel(2);
    tasks[2].line("2");
    inner[1].line("1.1");
    inner[0].line("1.0");
    tasks[0].finish_task(true);
    bench.ui.error("Error: interrupted");
    assert_eq!(bench.text(), "1.0\n1.1\n2\nError: interrupted\n");
}
