package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithTest lets no server outlive a test that is killed.
func dieWithTest(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
