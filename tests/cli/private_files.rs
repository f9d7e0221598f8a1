//! Everything below `.deployctl` belongs to the user alone, whatever the umask, and a killed command leaves no plan.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::minimal_project::MinimalProject;
use crate::support::private::open_to_others;
use crate::support::program::CommandOutput;

#[tokio::test]
async fn new_files_are_private_with_any_umask() {
    let project = MinimalProject::new();
    let build = ["build", "--into", "dist", "--timings=.deployctl/timings.html"];
    let output = project.program.command_with_umask("000", &build).output().await.unwrap();
    CommandOutput::of(output).exit(0);
    let work = project.path().join(".deployctl");
    assert!(work.join("timings.html").exists() && work.join("artifacts").exists());
    assert_eq!(open_to_others(&work), [""; 0]);
}

#[tokio::test]
async fn a_folder_that_was_open_is_closed_by_the_next_command() {
    let project = MinimalProject::new();
    let file = project.write(".deployctl/terraform/local/terraform.rc", "provider_installation {}\n");
    for path in file.ancestors().take(4) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    assert_eq!(open_to_others(&project.path().join(".deployctl")).len(), 4);
    project.run(&["local", "env"]).await.exit(2).says(&["error [local.down]"]);
    assert_eq!(open_to_others(&project.path().join(".deployctl")), [""; 0]);
}

#[tokio::test]
async fn the_plan_of_a_killed_command_is_deleted_by_the_next_one() {
    let project = MinimalProject::new();
    let killed = project.write(".deployctl/terraform/dev/app/plan-killed/plan", "secrets");
    let running = project.write(".deployctl/terraform/local/app/plan-running/plan", "secrets");
    // A command that runs holds a lock.
    let folder = std::fs::File::open(running.parent().unwrap()).unwrap();
    folder.lock().unwrap();
    let next = async || project.run(&["local", "env"]).await.exit(2);
    next().await;
    let exists = |file: &Path| file.parent().unwrap().exists();
    assert_eq!((exists(&killed), exists(&running)), (false, true));
    drop(folder);
    next().await;
    assert!(!exists(&running));
}
