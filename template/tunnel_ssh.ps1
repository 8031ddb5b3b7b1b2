<#
.SYNOPSIS
tunnel_ssh.ps1: an SSH tunnel from a Windows computer to the running session

.DESCRIPTION
    ./tunnel_ssh.ps1 'ADDRESS'           to the address that start_salloc.sh
                                         printed
    ./tunnel_ssh.ps1 -Print 'ADDRESS'    shows the command and the address to
                                         open (--print does, too)
    ./tunnel_ssh.ps1 -Help               this text (--help, too)

It uses the ssh of Windows. One login, so one second-factor prompt. Leave it
running; Ctrl-C closes the tunnel. If Windows refuses to run scripts:
powershell -ExecutionPolicy Bypass -File tunnel_ssh.ps1 'ADDRESS'
#>
param(
    [Parameter(ValueFromRemainingArguments)] [string[]] $Words = @(),
    [switch] $Print,
    [switch] $Help
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2

# Read-Flat: the same "name: value" lines that lib/both/settings.sh reads; this script needs single values, and the first of host_keys
function Read-Flat([string] $Name) {
    $values = @{}
    $path = Join-Path $PSScriptRoot $Name
    if (Test-Path $path) {
        foreach ($line in Get-Content -Encoding UTF8 $path) {
            if ($line -match '^([a-z][a-z0-9_]*): +([A-Za-z0-9/$][A-Za-z0-9_./:+@%=<>!~*-]*) *( #.*)?$') {
                $values[$Matches[1]] = $Matches[2]
            }
            elseif ($line -match '^(host_keys): +\[([^],]+)') { $values[$Matches[1]] = $Matches[2] }
        }
    }
    $values
}

# Read-Shared: the rest of a line of lib/both that begins so
function Read-Shared([string] $Name, [string] $Start) {
    $text = Get-Content -Raw (Join-Path $PSScriptRoot "lib/both/$Name")
    [regex]::Match($text, '(?m)^' + $Start + '([^\r\n]*)').Groups[1].Value
}

# Stop-Here: one line of trouble, and the status, which is that of misuse unless told otherwise
function Stop-Here([string] $Key, [hashtable] $Names = @{}, [int] $Status = 64) {
    [Console]::Error.WriteLine('tunnel_ssh.ps1' + (Get-Message 'colon') + (Get-Message $Key $Names))
    exit $Status
}

# Get-Message: a text of lib/texts in the language of settings.yml, its {names} filled in
function Get-Message([string] $Key, [hashtable] $Names = @{}) {
    $file = Join-Path $PSScriptRoot "lib/texts/$language/messages.yml"
    $text = (Get-Content -Encoding UTF8 $file | Where-Object { $_.StartsWith("${Key}: ") }) -replace '^[a-z_]+: "(.*)"$', '$1'
    foreach ($name in $Names.Keys) { $text = $text.Replace("{$name}", [string] $Names[$name]) }
    $text.Replace('\n', "`n")
}

# Test-Port: does something listen on this computer's port already?
function Test-Port([int] $Port) {
    $client = New-Object System.Net.Sockets.TcpClient
    try { $client.Connect('127.0.0.1', $Port); $true } catch { $false } finally { $client.Dispose() }
}

if ($Words -contains '--print') { $Print = $true }
$addresses = @($Words | Where-Object { $_ -and $_ -ne '--print' })

$language = 'en'
$settings = Read-Flat 'settings.yml'
if ($settings['language'] -and (Test-Path (Join-Path $PSScriptRoot "lib/texts/$($settings['language'])"))) {
    $language = $settings['language']
}
if ($Help -or $Words -contains '--help') {
    $translation = Join-Path $PSScriptRoot "lib/texts/$language/help/tunnel_ssh.ps1.txt"
    if (Test-Path $translation) { Get-Content -Encoding UTF8 $translation }
    else { Get-Help -Full $PSCommandPath | Out-String | Write-Output }
    exit 0
}
if (-not $settings.ContainsKey('cluster')) { Stop-Here 'no_settings' @{ folder = $PSScriptRoot } }
$personal = Read-Flat 'personal.yml'
$facts = Read-Flat "plugins/clusters/$($settings['cluster']).yml"
if ($facts['reach'] -eq 'local') { Stop-Here 'no_tunnel_needed' @{ place = 'settings.yml' } }

if ($addresses.Count -ne 1) { Stop-Here 'one_address' }
$rule = Read-Shared 'rules.yml' 'address: '
if ($addresses[0] -notmatch ('^' + $rule + '$') -or [int] $Matches[2] -gt 65535) {
    Stop-Here 'bad_address' @{ address = $addresses[0] }
}
$node = $Matches[1]; $remotePort = [int] $Matches[2]; $page = $Matches[3]

# where the login host is asked, the cluster's id stands for many and says nothing
$clusterName = $settings['cluster']
$loginHost = $facts['login_host']
if ($loginHost -eq 'asked') { $clusterName = $loginHost = $settings['login_host'] }
if ([int] $settings['gpus'] -gt 0 -and $facts['gpu_login_host']) { $loginHost = $facts['gpu_login_host'] }
$user = $personal['user']
if (-not $user -and -not $personal['ssh_host']) {
    if ($Print) { $user = 'USER' }
    else {
        $user = Read-Host (Get-Message 'which_user' @{ cluster = $clusterName })
        if ($user -notmatch ('^' + (Read-Shared 'rules.yml' 'user: ') + '$')) { Stop-Here 'no_user' @{ cluster = $clusterName } }
        $file = Join-Path $PSScriptRoot 'personal.yml'
        $before = if (Test-Path $file) { Get-Content -Raw $file } else { '' }
        # its last line may lack its end
        $end = if ($before -and -not $before.EndsWith("`n")) { "`n" } else { '' }
        Add-Content -Path $file -Value "${end}user: $user"
    }
}
$login = "$user@$loginHost"
if ($personal['ssh_host']) { $login = $personal['ssh_host'] }

$port = $remotePort
if ($personal['port']) { $port = [int] $personal['port'] }
$wanted = $port
$last = [Math]::Min($wanted + [int] (Read-Shared 'limits.sh' 'LOCAL_PORTS=') - 1, 65535)
while (Test-Port $port) {
    if ($port -ge $last) { Stop-Here 'no_free_port' @{ first = $wanted; last = $last } 1 }
    $port++
}
if ($port -ne $wanted) { [Console]::Error.WriteLine((Get-Message 'other_port' @{ port = $port; taken = $wanted })) }

# the ssh of Windows cannot share a connection, and ends where its settings say that it is to
$own = @('-F', 'lib/laptop/ssh_config', '-o', 'ControlMaster=no', '-o', 'ControlPath=none', '-N')
$arguments = $own + @('-L', "127.0.0.1:${port}:${node}:${remotePort}", $login)
# only ssh passes between such a cluster's nodes: log in on the node itself
if ($facts['reach'] -eq 'jump') {
    $onNode = $node
    if ($user) { $onNode = "$user@$node" }
    $arguments = $own + @('-J', $login, '-L', "127.0.0.1:${port}:127.0.0.1:${remotePort}", $onNode)
}
$url = "http://127.0.0.1:$port/$page"
if ($Print) { "ssh $arguments"; $url; exit 0 }
Get-Message 'connecting' @{ login = $login }
$url
if ($facts['host_keys']) {
    # ssh compares what is pasted with the key that the host presents
    Get-Message 'host_key_to_paste' @{ host = $loginHost; published = $facts['host_keys'] }
}
# ssh is told the file's place from here: it parts a path at spaces
Set-Location -LiteralPath $PSScriptRoot
# what ssh says passes; in Windows PowerShell 5.1 its first word would end the script otherwise
$ErrorActionPreference = 'Continue'
$refused = 'forwarding_refused'
if ($facts['reach'] -eq 'jump') { $refused = 'jump_refused' }
& ssh @arguments 2>&1 | ForEach-Object {
    [Console]::Error.WriteLine("$_")
    if ("$_" -match 'open failed: administratively prohibited') {
        Stop-Here $refused @{ login = $login; node = $node; port = $remotePort } 1
    }
}
exit $LASTEXITCODE
