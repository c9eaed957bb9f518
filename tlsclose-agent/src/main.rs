mod attribution;
mod finding;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Hidden: what the agent runs itself as, to read files of others without privileges. Comes
    // before anything that could start a thread.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|arg| arg == "symbolize")
    {
        return attribution::symbols::helper::helper_main();
    }
    ExitCode::SUCCESS
}
