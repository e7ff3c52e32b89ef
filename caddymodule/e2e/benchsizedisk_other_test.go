//go:build !linux

package e2e

func diskUse(string) (int64, error) { return 0, errNotLinux }
func forgetCached(string) error     { return errNotLinux }
