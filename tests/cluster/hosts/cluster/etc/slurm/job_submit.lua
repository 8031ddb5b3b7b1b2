-- A submit filter that behaves as the Alliance's is documented to (written from that, not copied):
-- who has one allocation need not name it, who has several must; an allocation has a _cpu and a
-- _gpu account; the partition follows from the time, the GPUs, and whether the job is interactive.

local function given(text) return text ~= nil and text ~= "" end

-- Newer Slurm says --cpus-per-task, too, in tres_per_task: "cpu=31".
local function gpus(text) return given(text) and text:find("gpu") ~= nil end

local function allocations_of(uid)
  local found = {}
  for line in io.lines("/etc/vcluster/users") do
    local number, rest = line:match("^%w+%s+(%d+)%s+%S+%s+(.+)$")
    if tonumber(number) == uid then
      for allocation in rest:gmatch("%S+") do table.insert(found, allocation) end
    end
  end
  return found
end

local function partition(job, gpu)
  local minutes = job.time_limit == slurm.NO_VAL and 60 or job.time_limit
  if gpu then return minutes <= 180 and "gpubase_bygpu_b1" or "gpubase_bygpu_b5" end
  if not given(job.script) then return "cpubase_interac" end
  if minutes <= 180 then return "cpubase_bycore_b1" end
  if minutes <= 720 then return "cpubase_bycore_b2" end
  if minutes <= 1440 then return "cpubase_bycore_b3" end
  return "cpubase_bycore_b5"
end

function slurm_job_submit(job, partitions, uid)
  local gpu = gpus(job.tres_per_node) or gpus(job.tres_per_job) or gpus(job.tres_per_task) or gpus(job.gres)
  local suffix = gpu and "_gpu" or "_cpu"
  if given(job.account) then
    if not job.account:match("_[cg]pu$") then job.account = job.account .. suffix end
  else
    local mine = allocations_of(uid)
    if #mine > 1 then
      slurm.log_user("You are associated with multiple %s allocations...", suffix)
      slurm.log_user("Please specify one of the following accounts to submit this job:")
      for _, allocation in ipairs(mine) do slurm.log_user("  %s", allocation) end
      slurm.log_user("Use the parameter --account=desired_account when submitting your job")
      return slurm.ERROR
    end
    if #mine == 1 then job.account = mine[1] .. suffix end
  end
  if not given(job.partition) then job.partition = partition(job, gpu) end
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid) return slurm.SUCCESS end

return slurm.SUCCESS
