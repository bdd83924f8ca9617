// Command tufclient fetches one target with go-tuf as it is published: METADATA_URL TARGETS_URL ROOT FOLDER TARGET.
// It prints the path of the verified file; exit code 1 and the reason when anything does not hold.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

func main() {
	if len(os.Args) != 6 {
		fail(fmt.Errorf("want METADATA_URL TARGETS_URL ROOT FOLDER TARGET"))
	}
	path, err := fetch(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	if err != nil {
		fail(err)
	}
	fmt.Println(path)
}

func fetch(metadataURL, targetsURL, rootFile, folder, target string) (string, error) {
	root, err := os.ReadFile(rootFile)
	if err != nil {
		return "", err
	}
	settings, err := config.New(metadataURL, root)
	if err != nil {
		return "", err
	}
	settings.LocalMetadataDir = filepath.Join(folder, "metadata")
	settings.LocalTargetsDir = filepath.Join(folder, "targets")
	settings.RemoteTargetsURL = targetsURL
	if err := settings.EnsurePathsExist(); err != nil {
		return "", err
	}
	client, err := updater.New(settings)
	if err != nil {
		return "", err
	}
	if err := client.Refresh(); err != nil {
		return "", err
	}
	info, err := client.GetTargetInfo(target)
	if err != nil {
		return "", err
	}
	path, _, err := client.DownloadTarget(info, "", "")
	return path, err
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
