//! A project with a werf.yaml, built by our program on one of the runtimes, on a host of its own: state, home and temporary
//! files are nobody else's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use slipway::registry::{Client, Options};
use slipway::runtime::docker::{DockerOptions, DockerRuntime};
use slipway::runtime::embedded::EmbeddedRuntime;
use slipway::runtime::{ImageDescription, ImageFilter, Runtime};
use slipway::sys::clock::Clock;
use tempfile::TempDir;

use super::git_repo::GitRepo;
use super::program::{Output, Program, SLIPWAY};

const BUSYBOX: &str = "/bin/busybox";

/// Makes one test of each function for each runtime. The function gets a project; without root, a busybox or a Docker Engine
/// the test says so and does nothing.
#[macro_export]
macro_rules! on_both_runtimes {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[test]
            fn $name() {
                if let Some(project) = $crate::support::build_project::BuildProject::embedded() {
                    super::$name(project);
                }
            })+
        }
        mod docker {
            $(#[test]
            fn $name() {
                if let Some(project) = $crate::support::build_project::BuildProject::docker() {
                    super::$name(project);
                }
            })+
        }
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Docker,
}

pub struct BuildProject {
    pub repo: GitRepo,
    pub kind: Kind,
    /// Project name and name of the base image, unlike any other on this host.
    pub name: String,
    host: TempDir,
}

impl BuildProject {
    pub fn embedded() -> Option<Self> {
        let project = Self::new(Kind::Embedded)?;
        project.slipway(["image", "import", &project.base(), "root.tar"]).dir(project.host.path()).stdout();
        Some(project)
    }

    pub fn docker() -> Option<Self> {
        if std::env::var_os("DOCKER_HOST").is_none() {
            println!("skipped: DOCKER_HOST names no Docker Engine");
            return None;
        }
        let project = Self::new(Kind::Docker)?;
        let tar = project.host.path().join("root.tar");
        docker(["import", "-c", "CMD [\"sh\"]", tar.to_str().unwrap(), &project.base()]);
        Some(project)
    }

    fn new(kind: Kind) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            println!("skipped: needs root and {BUSYBOX}");
            return None;
        }
        let host = tempfile::tempdir().unwrap();
        for directory in ["state", "tmp", "home"] {
            std::fs::create_dir(host.path().join(directory)).unwrap();
        }
        busybox_root(host.path());
        let name = format!("e2e-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Some(Self { repo: GitRepo::new(), kind, name, host })
    }

    /// Name of a small image: a busybox, the accounts root and `app` (1000, group 1001), a working directory and a command.
    pub fn base(&self) -> String {
        format!("{}:1", self.name)
    }

    /// Writes a werf.yaml of these sections; `BASE` in it is the base image. Commits nothing.
    pub fn werf_yaml(&self, sections: &str) -> &Self {
        let text = format!("project: {}\nconfigVersion: 1\n---\n{sections}", self.name);
        self.repo.write("werf.yaml", text.replace("BASE", &self.base()));
        self
    }

    /// Writes and commits it.
    pub fn commit_yaml(&self, sections: &str) -> &Self {
        self.werf_yaml(sections);
        self.repo.commit("Change werf.yaml");
        self
    }

    pub fn host(&self) -> &Path {
        self.host.path()
    }

    pub fn tmp(&self) -> PathBuf {
        self.host().join("tmp")
    }

    pub fn state(&self) -> PathBuf {
        self.host().join("state")
    }

    /// Our program on this project's host, in the project.
    pub fn slipway<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Program {
        let runtime = if self.kind == Kind::Docker { "docker" } else { "embedded" };
        Program::new(args)
            .dir(self.repo.path())
            .env("HOME", self.host().join("home"))
            .env("SLIPWAY_STATE_DIR", self.state())
            .env("SLIPWAY_RUNTIME", runtime)
            .env("DOCKER_HOST", std::env::var_os("DOCKER_HOST").unwrap_or_default())
            .env("WERF_TMP_DIR", self.tmp())
            .env("WERF_STAGES_STORAGE", ":local")
            .env("WERF_LOG_TERMINAL_WIDTH", "400")
    }

    /// The same for a process that goes on beside the test.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        self.slipway(args).into_command()
    }

    /// Builds; it must succeed.
    pub fn build(&self) -> Log {
        self.build_with([])
    }

    pub fn build_with<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Log {
        let output = self.slipway(["build"].into_iter().chain(args)).run();
        assert_eq!(output.code, 0, "{}", output.stderr);
        Log(output.stderr)
    }

    /// Builds; it must fail. Gives the exit code and the whole log.
    pub fn failed_build<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        let output = self.slipway(["build"].into_iter().chain(args)).run();
        assert_ne!(output.code, 0, "{}", output.stderr);
        output
    }

    /// What a script prints in a container of the built image.
    pub fn sh(&self, image: &str, script: &str) -> String {
        let output = self.slipway(["run", image, "--docker-options=--rm", "--", "/bin/sh", "-ec", script]).run();
        assert_eq!(output.code, 0, "{script}\n{}{}", output.stdout, output.stderr);
        output.stdout
    }

    /// The last stage of an image, as the runtime describes it.
    pub fn image(&self, image: &str) -> ImageDescription {
        let name = self.slipway(["stage", "image", image]).stdout();
        self.inspect(name.trim()).unwrap()
    }

    pub fn inspect(&self, name: &str) -> Option<ImageDescription> {
        self.with_runtime(async |runtime| runtime.inspect(name).await.unwrap())
    }

    /// Every stage of the project on this host, oldest first.
    pub fn stages(&self) -> Vec<ImageDescription> {
        self.list("werf-stages-storage")
    }

    /// Images named `<kind>/<project>:…`.
    pub fn list(&self, kind: &str) -> Vec<ImageDescription> {
        let filter = ImageFilter { repository: Some(format!("{kind}/{}", self.name)), labels: BTreeMap::new() };
        self.with_runtime(async |runtime| runtime.list(&filter).await.unwrap())
    }

    /// How many stored stages have each stage name.
    pub fn stored(&self, stage: &str) -> usize {
        self.stages().iter().filter(|image| image.config.labels["io.slipway.stage"] == stage).count()
    }

    pub fn with_runtime<T>(&self, work: impl AsyncFnOnce(&dyn Runtime) -> T) -> T {
        let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        tokio.block_on(async {
            match self.kind {
                Kind::Embedded => {
                    let root = self.state().join("embedded");
                    let client = Client::new(Options::default());
                    let runtime = EmbeddedRuntime::open(&root, SLIPWAY.into(), client, Clock::System).unwrap();
                    work(&runtime).await
                }
                Kind::Docker => {
                    let options = DockerOptions {
                        host: std::env::var("DOCKER_HOST").ok(),
                        docker_config: slipway::registry::DockerConfig::default(),
                        tmp_dir: self.tmp(),
                        clock: Clock::System,
                    };
                    work(&DockerRuntime::connect(options).await.unwrap()).await
                }
            }
        })
    }

    /// What a run has left: containers, mounts, temporary files. Rendered configurations are kept for the user.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found: Vec<String> = std::fs::read_dir(self.tmp())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("werf-config-render-"))
            .collect();
        let state = self.state().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        found.extend(mounts.lines().filter(|line| line.contains(&state)).map(str::to_owned));
        match self.kind {
            Kind::Docker => {
                let filter = format!("label=io.slipway.build={}", self.name);
                found.extend(docker(["ps", "-aq", "--filter", &filter]).lines().map(str::to_owned));
            }
            Kind::Embedded => {
                let containers = std::fs::read_dir(self.state().join("embedded/containers"));
                found.extend(containers.into_iter().flatten().map(|entry| format!("{:?}", entry.unwrap().path())));
            }
        }
        found
    }
}

impl Drop for BuildProject {
    fn drop(&mut self) {
        if self.kind != Kind::Docker {
            return;
        }
        let run = |args: &[&str]| Command::new("docker").args(args).output();
        let filter = format!("label=io.slipway.build={}", self.name);
        let containers = docker(["ps", "-aq", "--filter", &filter]);
        for id in containers.lines() {
            let _ = run(&["rm", "-f", id]);
        }
        let all = docker(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        let ours = |line: &&str| {
            let (repository, _) = line.rsplit_once(':').unwrap_or_default();
            repository == self.name || repository.contains(&format!("/{}", self.name))
        };
        for name in all.lines().filter(|line| ours(line) && !line.ends_with("<none>")) {
            let _ = run(&["rmi", "-f", name]);
        }
        let dangling =
            docker(["images", "-q", "--filter", "dangling=true", "--filter", &format!("label=werf={}", self.name)]);
        for id in dangling.lines() {
            let _ = run(&["rmi", "-f", id]);
        }
    }
}

/// What a build said.
pub struct Log(pub String);

impl Log {
    /// Stages that were built, in order: `app/install`.
    pub fn built(&self) -> Vec<&str> {
        self.titles("┌ Building stage ")
    }

    pub fn reused(&self) -> Vec<&str> {
        self.titles("Use cache image for ")
    }

    /// The lines with this text, without borders.
    pub fn lines_with(&self, text: &str) -> Vec<&str> {
        let lines = self.0.lines().filter(|line| line.contains(text));
        lines.map(|line| line.trim_start_matches(['│', ' ', '├', '└', '┌']).trim_end()).collect()
    }

    /// What the commands of stages whose name ends like this printed, each line with the name before it.
    pub fn output_of(&self, stage: &str) -> Vec<&str> {
        let tag = format!("{stage}  ");
        let is_output = |line: &&str| line.split_once(&tag).is_some_and(|(image, _)| !image.contains(' '));
        self.lines_with(&tag).into_iter().filter(is_output).collect()
    }

    fn titles(&self, start: &str) -> Vec<&str> {
        self.0.lines().filter_map(|line| Some(line.split_once(start)?.1.trim())).collect()
    }
}

pub fn docker<'a>(args: impl IntoIterator<Item = &'a str>) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `root.tar`: a root file system that has a busybox with all its names, and an account.
fn busybox_root(directory: &Path) {
    let root = directory.join("root");
    for name in ["bin", "etc", "tmp", "home/app"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n").unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\nstaff:x:50:\n").unwrap();
    let names = Command::new(BUSYBOX).arg("--list").output().unwrap();
    for name in String::from_utf8(names.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let tar = directory.join("root.tar");
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
    assert!(packed.success());
}
